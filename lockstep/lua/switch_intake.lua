-- Purpose: say whether new messages are accepted, in all queues. Safe to repeat.
-- KEYS:    1 control, 2 intake: there while it is off, so that an enqueue sees it at a glance
-- ARGV:    1 'on' or 'off', 2 why ('' when nobody said), 3 'run' when an operator says so, 'boot' when a process that
--          starts does: what an operator said stays
-- Answers: 1 when that changed, else 0
-- States:  none changes

local was = redis.call('HMGET', KEYS[1], 'intake', 'source', 'since')
if ARGV[3] == 'boot' and was[2] == 'run' then
    return 0
end
local changed = (was[1] or 'on') ~= ARGV[1]
if ARGV[3] == 'boot' and not changed then
    return 0
end
local since = was[3]
if changed then
    local time = redis.call('TIME')
    since = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
redis.call('HSET', KEYS[1], 'intake', ARGV[1], 'since', since or '', 'why', ARGV[2], 'source', ARGV[3])
if ARGV[1] == 'off' then
    redis.call('SET', KEYS[2], cmsgpack.pack({since, ARGV[2]}))
else
    redis.call('DEL', KEYS[2])
end
return changed and 1 or 0
