-- Purpose: read the tokens of some leases. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    refs of groups, at most 500
-- Answers: the token of each that is leased
-- States:  none changes

-- @include shard
-- @include lease

local answer = {}
for _, packed in ipairs(redis.call('HMGET', key('leases'), unpack(ARGV))) do
    if packed then
        answer[#answer + 1] = string.sub(packed, 1, TOKEN_LENGTH)
    end
end
return answer
