-- Purpose: claim the right to decide about the ticks of a schedule, compare-and-set: only from the mark that the
--          claimer knows, only ticks that have come by the server's clock, and one claimer at a time. It ends with
--          `mark`, or by itself. Safe to repeat: the claimer's own claim is renewed.
-- KEYS:    1 schedules (hash)
-- ARGV:    1 actor, 2 mark that the claimer knows (ms), 3 last tick that it decides about (ms), 4 scheduler,
--          5 for how long it claims (ms)
-- Answers: 1 claimed, 0 not: another has the claim or has decided, or the tick is yet to come
-- States:  none changes

-- @include clock
-- @include schedule

local schedule = read_schedule(redis.call('HGET', KEYS[1], ARGV[1]))
if not schedule or schedule[SCHEDULE.MARK] ~= tonumber(ARGV[2]) or tonumber(ARGV[3]) > NOW then
    return 0
end
if schedule[SCHEDULE.CLAIMER] ~= ARGV[4] and schedule[SCHEDULE.CLAIMED] > NOW then
    return 0
end
schedule[SCHEDULE.CLAIMER], schedule[SCHEDULE.CLAIMED] = ARGV[4], NOW + tonumber(ARGV[5])
write_schedule(ARGV[1], schedule)
return 1
