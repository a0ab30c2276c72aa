-- Purpose: what a shard will want of workers soon, and how its attempts went lately: between this question and one at
--          least a while ago, which every question notes for later ones. Safe to send twice.
-- KEYS:    1 meta of the shard
-- ARGV:    1 how soon (ms), 2 ms between two notes, at least, 3 ms after which a note counts no more
-- Answers: groups and scheduled messages that fall due so soon, or are due; ms since the note (0: there is none that
--          is old enough to tell anything); attempts that ended since then; microseconds that they ran
-- States:  none changes

-- @include shard

local SOON, APART, STALE = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

-- Of less than this (ms) nothing can be told.
local LEAST = 1000

local runs, run_us = 0, 0
local stats = redis.call('HGETALL', key('stats'))
for i = 1, #stats, 2 do
    local field, number = stats[i], tonumber(stats[i + 1])
    if string.sub(field, 1, 9) == 'duration|' then
        if string.sub(field, -7) == '|sum_us' then
            run_us = run_us + number
        elseif string.find(field, '|le:[^|]*$') then
            runs = runs + number
        end
    end
end

local note = redis.call('HMGET', key('pace'), 'at', 'runs', 'us', 'before_at', 'before_runs', 'before_us')
for i = 1, 6 do
    note[i] = tonumber(note[i] or nil)
end
-- The clock stepped back, or Redis lost its data: what was noted says nothing about now.
if note[1] and (NOW < note[1] or NOW - note[1] > STALE or runs < note[2]) then
    note = {}
end

write_though_full()
if not note[1] then
    redis.call('DEL', key('pace'))
    redis.call('HSET', key('pace'), 'at', NOW, 'runs', runs, 'us', run_us)
elseif NOW - note[1] >= APART then
    note[4], note[5], note[6] = note[1], note[2], note[3]
    redis.call('HSET', key('pace'), 'at', NOW, 'runs', runs, 'us', run_us, 'before_at', note[4], 'before_runs', note[5],
        'before_us', note[6])
end
redis.call('PEXPIRE', key('pace'), STALE)

local due = redis.call('ZCOUNT', key('blocked'), '-inf', NOW + SOON)
    + redis.call('ZCOUNT', key('scheduled'), '-inf', NOW + SOON)
local since, since_runs, since_us = note[4] or note[1], note[5] or note[2], note[6] or note[3]
if not since or NOW - since < LEAST then
    return {due, 0, 0, 0}
end
return {due, NOW - since, runs - since_runs, run_us - since_us}
