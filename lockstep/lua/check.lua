-- Purpose: say what is wrong with some things of a shard. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    for each thing, at most 500: what it is (group, message, scheduled, done, kind, letter, lane, waiter,
--          word, unique), its name, where it was seen ('' nowhere), how often it was seen in lists ('' not looked;
--          see includes/audit.lua)
-- Answers: for each fault: what it is, its name, where it was seen, the fault
-- States:  none changes

-- @include shard
-- @include row
-- @include lease
-- @include group
-- @include ready
-- @include lanes
-- @include death
-- @include dead
-- @include audit

local answer = {}
for i = 1, #ARGV, 4 do
    local what, name, where, seen = unpack(ARGV, i, i + 3)
    for _, fault in ipairs(audits[what](name, where, seen)) do
        answer[#answer + 1] = {what, name, where, fault}
    end
end
return answer
