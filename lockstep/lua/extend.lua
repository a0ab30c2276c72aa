-- Purpose: renew leases. Safe to send twice.
-- KEYS:    1 meta of the shard
-- ARGV:    1 lease (ms), then for each lease: ref, token
-- Answers: for each lease: 1 renewed, 2 renewed, but its message is to be cancelled, 0 the token holds no lease
-- States:  none changes: a lease that ended in time but was not reaped yet is still its holder's

-- @include shard
-- @include lease

local refs, tokens = {}, {}
for i = 2, #ARGV, 2 do
    refs[#refs + 1] = ARGV[i]
    tokens[#tokens + 1] = ARGV[i + 1]
end

local leases = redis.call('HMGET', key('leases'), unpack(refs))
local answer, expiries = {}, {}
for i, ref in ipairs(refs) do
    if holds(leases[i], tokens[i]) then
        local extras = extras_of(leases[i])
        answer[i] = extras and extras.cancel and 2 or 1
        expiries[#expiries + 1] = NOW + tonumber(ARGV[1])
        expiries[#expiries + 1] = ref
    else
        answer[i] = 0
    end
end
if #expiries > 0 then
    write_though_full()
    redis.call('ZADD', key('expiries'), unpack(expiries))
end
return answer
