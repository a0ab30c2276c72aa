-- Purpose: say that a scheduler lives and which schedules it declares, and read how far each is decided. One that is
--          new is decided up to now. Safe to repeat.
-- KEYS:    1 schedules (hash), 2 schedulers (zset)
-- ARGV:    1 scheduler, 2 for how long one counts as alive (ms), 3 for how long a schedule is kept that nobody
--          declares (ms), 4 ticks that may be late (ms), then for each schedule, at most 1,000: actor, expression, policy
-- Answers: now (ms); then for each schedule: its mark (ms), 1 when another scheduler has claimed it, else 0
-- States:  none changes

-- @include clock
-- @include schedule

local OWNER, ALIVE_MS, KEEP_MS, LATE_MS = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

redis.call('ZADD', KEYS[2], NOW, OWNER)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. (NOW - ALIVE_MS))
redis.call('PEXPIRE', KEYS[2], ALIVE_MS)

local answer = {NOW}
for i = 5, #ARGV, 3 do
    local name, expression = ARGV[i], ARGV[i + 1]
    local schedule = read_schedule(redis.call('HGET', KEYS[1], name))
    if not schedule then
        schedule = {expression, '', NOW, NOW, '', 0, 0, 0, ''}
    elseif schedule[SCHEDULE.EXPRESSION] ~= expression then
        -- What it would have done before it was declared is nobody's loss; while an older release still declares its
        -- own expression beside this one, ticks of the last moments stay open for both.
        schedule[SCHEDULE.MARK] = math.max(schedule[SCHEDULE.MARK], schedule[SCHEDULE.SEEN] - LATE_MS)
    end
    schedule[SCHEDULE.EXPRESSION], schedule[SCHEDULE.CATCH_UP] = expression, ARGV[i + 2]
    schedule[SCHEDULE.SEEN] = NOW
    write_schedule(name, schedule)
    answer[#answer + 1] = schedule[SCHEDULE.MARK]
    answer[#answer + 1] = schedule[SCHEDULE.CLAIMER] ~= OWNER and schedule[SCHEDULE.CLAIMED] > NOW and 1 or 0
end

-- What no release declares any more; there are never more than were declared within that time.
if redis.call('HLEN', KEYS[1]) > (#ARGV - 4) / 3 then
    local all = redis.call('HGETALL', KEYS[1])
    for i = 1, #all, 2 do
        if read_schedule(all[i + 1])[SCHEDULE.SEEN] < NOW - KEEP_MS then
            redis.call('HDEL', KEYS[1], all[i])
        end
    end
end
redis.call('PEXPIRE', KEYS[1], KEEP_MS)
return answer
