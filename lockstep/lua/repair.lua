-- Purpose: mend what is wrong with some things of a shard, as far as the shard itself says what is right.
--          Safe to repeat: each thing is judged anew, and one that has no fault is left alone.
-- KEYS:    1 meta of the shard, 2 limits
-- ARGV:    1 lease (ms), then for each thing, at most 100: what it is, its name, where it was seen (see check.lua)
-- Answers: for each fault that was mended: what it is, its name, where it was seen, the fault
-- States:  message: back to where its row says, or forgotten when it has none;
--          group absent | ready | leased | blocked | paused -> where its head says

-- @include shard
-- @include row
-- @include lease
-- @include group
-- @include ready
-- @include lanes
-- @include limits
-- @include ended
-- @include place
-- @include death
-- @include dead
-- @include finished
-- @include insert
-- @include audit
-- @include mending

-- Each step mends one fault and may uncover another; a thing has no more than these.
local STEPS = 12

local answer = {}
write_though_full()
for i = 2, #ARGV, 3 do
    local what, name, where = unpack(ARGV, i, i + 2)
    for _ = 1, STEPS do
        local fault = audits[what](name, where, '')[1]
        if not fault then
            break
        end
        mends[what][fault](name, where)
        answer[#answer + 1] = {what, name, where, fault}
    end
end
return answer
