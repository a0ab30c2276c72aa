-- Purpose: change the limits, all at once. Safe to repeat.
-- KEYS:    1 limits
-- ARGV:    1 number of fields to remove, then those fields, then for each field to set: field, value
--          (see includes/limits.lua)
-- Answers: 1 when something changed, else 0
-- States:  none changes

local removals = tonumber(ARGV[1])
local changed = 0
for i = 2, 1 + removals do
    changed = changed + redis.call('HDEL', KEYS[1], ARGV[i])
end
for i = 2 + removals, #ARGV, 2 do
    if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
        changed = changed + 1
    end
end
if changed > 0 then
    redis.call('HINCRBY', KEYS[1], 'revision', 1)
    return 1
end
return 0
