-- Purpose: read every schedule and every scheduler. Writes nothing.
-- KEYS:    1 schedules (hash), 2 schedulers (zset)
-- ARGV:    none
-- Answers: now (ms); schedulers (flat, ms since seen); then for each schedule: actor, expression, policy, mark, seen,
--          tick, fired (all ms; 0: never), id of its message
-- States:  none changes

-- @include clock
-- @include schedule

local schedulers = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for i = 2, #schedulers, 2 do
    schedulers[i] = NOW - tonumber(schedulers[i])
end
local answer = {NOW, schedulers}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
    local schedule = read_schedule(all[i + 1])
    answer[#answer + 1] = {all[i], schedule[SCHEDULE.EXPRESSION], schedule[SCHEDULE.CATCH_UP],
        schedule[SCHEDULE.MARK], schedule[SCHEDULE.SEEN], schedule[SCHEDULE.TICK], schedule[SCHEDULE.FIRED],
        schedule[SCHEDULE.MESSAGE]}
end
return answer
