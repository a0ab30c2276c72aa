-- Purpose: say that a suspect message starts now, so that a crash counts against it and not against those
--          that its worker had merely claimed beside it. Safe to send twice.
-- KEYS:    1 meta of the shard
-- ARGV:    1 ref, 2 token
-- Answers: 1 noted, 0 the token holds no lease
-- States:  none changes

-- @include shard
-- @include lease

local packed = redis.call('HGET', key('leases'), ARGV[1])
if not holds(packed, ARGV[2]) then
    return 0
end
local lease = read_lease(packed)
lease.started = true
write_though_full()
write_lease(ARGV[1], lease)
return 1
