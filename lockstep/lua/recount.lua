-- Purpose: correct counts that nobody changed since they were found wrong. Safe to repeat.
-- KEYS:    1 hash of counts
-- ARGV:    for each count, at most 500: field, what it was ('' absent), what it is to be ('0' absent)
-- Answers: the fields that were corrected
-- States:  none changes

local corrected = {}
for i = 1, #ARGV, 3 do
    local field, was, right = unpack(ARGV, i, i + 2)
    if (redis.call('HGET', KEYS[1], field) or '') == was then
        if right == '0' then
            redis.call('HDEL', KEYS[1], field)
        else
            redis.call('HSET', KEYS[1], field, right)
        end
        corrected[#corrected + 1] = field
    end
end
return corrected
