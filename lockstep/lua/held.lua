-- Purpose: read what ends with some leases. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    refs of groups, at most 500
-- Answers: for each that is leased: its token, the instances of limits in which it runs
-- States:  none changes

-- @include shard
-- @include lease

local answer = {}
for _, ref in ipairs(ARGV) do
    local packed = redis.call('HGET', key('leases'), ref)
    if packed then
        local extras = extras_of(packed)
        answer[#answer + 1] = {string.sub(packed, 1, TOKEN_LENGTH), extras and extras.slots or {}}
    end
end
return answer
