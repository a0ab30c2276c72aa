-- Purpose: note which schema the data have and which releases may still run on them; neither is ever lowered. Safe
--          to repeat.
-- KEYS:    1 schema
-- ARGV:    1 number: the schema of this release, 2 oldest: the oldest whose releases may still run beside it
-- Answers: {number before, or 0, number, oldest, ms when one of them changed last, 1 when this call changed one};
--          the same with nothing changed when the data are for newer releases only (oldest > ARGV[1])
-- States:  none changes

local number, oldest = tonumber(ARGV[1]), tonumber(ARGV[2])
if not number or not oldest or number < 1 or oldest < 1 or oldest > number then
    error('expected 1 <= oldest <= number')
end
local was = redis.call('HMGET', KEYS[1], 'number', 'oldest', 'at')
local was_number, was_oldest, at = tonumber(was[1]) or 0, tonumber(was[2]) or 0, tonumber(was[3]) or 0
number, oldest = math.max(number, was_number), math.max(oldest, was_oldest)
local changed = number ~= was_number or oldest ~= was_oldest
if was_oldest > tonumber(ARGV[1]) or not changed then
    return {was_number, was_number, was_oldest, at, 0}
end
local time = redis.call('TIME')
at = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'number', number, 'oldest', oldest, 'at', string.format('%.0f', at))
return {was_number, number, oldest, at, 1}
