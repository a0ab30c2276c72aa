-- Purpose: say that a message starts now: a suspect, so that a crash counts against it and not against those that its
--          worker had merely claimed beside it; or one that a limit counts, so that it counts its start from now on.
--          Safe to send twice.
-- KEYS:    1 meta of the shard, 2 limits
-- ARGV:    1 ref, 2 token
-- Answers: ms within which it must start now (1 when no limit counts it);
--          0: the token holds no lease, or a limit has forgotten the message: it must be claimed again
-- States:  none changes

-- @include shard
-- @include row
-- @include lease
-- @include limits

local packed = redis.call('HGET', key('leases'), ARGV[1])
if not holds(packed, ARGV[2]) then
    return 0
end
local lease = read_lease(packed)
write_though_full()
if lease.extras and lease.extras.charged then
    -- To date a start later makes no window fuller than it was: those that hold the later time held the former, too,
    -- unless the former has left them all.
    if not recharge(lease.extras.charged, lease.claimed, NOW) then
        return 0
    end
    lease.claimed = NOW
end
lease.started = true
write_lease(ARGV[1], lease)
return lease.extras and lease.extras.within or 1
