-- Purpose: note that the ticks of a schedule are decided up to one, once the messages of those that were fired are in
--          their queues. The mark only ever rises, so this is safe to repeat, and true whoever has the claim by now.
-- KEYS:    1 schedules (hash)
-- ARGV:    1 actor, 2 last tick that is decided (ms), 3 scheduler, 4 last tick that was fired (ms; 0: none was),
--          5 id of its message
-- Answers: the mark (ms); nothing when there is no such schedule
-- States:  none changes

-- @include clock
-- @include schedule

local schedule = read_schedule(redis.call('HGET', KEYS[1], ARGV[1]))
if not schedule then
    return false
end
schedule[SCHEDULE.MARK] = math.max(schedule[SCHEDULE.MARK], tonumber(ARGV[2]))
if tonumber(ARGV[4]) > schedule[SCHEDULE.TICK] then
    schedule[SCHEDULE.TICK], schedule[SCHEDULE.FIRED] = tonumber(ARGV[4]), NOW
    schedule[SCHEDULE.MESSAGE] = ARGV[5]
end
if schedule[SCHEDULE.CLAIMER] == ARGV[3] then
    schedule[SCHEDULE.CLAIMER], schedule[SCHEDULE.CLAIMED] = '', 0
end
write_schedule(ARGV[1], schedule)
return schedule[SCHEDULE.MARK]
