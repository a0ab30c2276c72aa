-- Purpose: let an actor start something that a limit counts by a key that only the actor knows.
--          Idempotent: a resent call gets its first answer.
-- KEYS:    1 meta of the shard, 2 limits
-- ARGV:    1 session, 2 call number, 3 name of the limit, 4 key ('' for none), 5 rates when none are set for the name
--          (see includes/limits.lua; '' for none)
-- Answers: ms to wait until it may start; 0: now, and it is counted; -1: there is no such limit
-- States:  none changes

-- @include shard
-- @include session
-- @include row
-- @include limits

local answer = replay(ARGV[1], ARGV[2])
if answer then
    return answer[1] or -1
end
local NAME, KEY = ARGV[3], ARGV[4]
limits_exist()
local rates = read_rates(in_force('rate:', NAME) or ARGV[5])
if #rates == 0 then
    return -1
end
local instance = KEY == '' and NAME or NAME .. '|k:' .. KEY
local at = math.max(hold_ends_at(NAME), hold_ends_at(instance))
for _, rate in ipairs(rates) do
    at = math.max(at, rate_frees_at(rate, instance))
end

-- Whoever is refused is told a time of its own, as if those before it came back in time: so they do not all come back at
-- once, again and again. The hints are only that; what counts is the log.
local function hint(rate)
    local hints = LIMITS .. ':hints:' .. instance
    redis.call('ZREMRANGEBYSCORE', hints, '-inf', NOW) -- they are back
    local ahead = redis.call('ZCARD', hints)
    local before
    if ahead < rate.count then
        before = redis.call('LINDEX', log_key(instance), ahead - rate.count)
    else
        before = redis.call('ZRANGE', hints, -rate.count, -rate.count, 'WITHSCORES')[2]
    end
    local told = math.max(at, before and tonumber(before) + rate.period + rate.slack or 0)
    redis.call('ZADD', hints, told, string.format('%.0f', NOW_US))
    redis.call('PEXPIRE', hints, told - NOW + rate.period)
    return told
end

local wait = 0
if at > NOW then
    redis.call('HINCRBY', key('stats'), 'limit_waits|' .. NAME, 1)
    wait = hint(rates[1]) - NOW
else
    for _, rate in ipairs(rates) do
        charge(rate, instance)
    end
end
return remember(ARGV[1], ARGV[2], {wait})[1]
