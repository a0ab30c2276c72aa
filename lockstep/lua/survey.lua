-- Purpose: one step of the search for the deepest and the oldest groups of a shard, which never ends: place by place, a batch
--          a step. What was found stays known, measured anew at each step, until others are more so. A shard with no
--          more groups than a batch needs no search (rank.lua looks at all of them): then nothing is kept.
--          Safe to send twice: it goes one step further, or does nothing because the last step was just now.
-- KEYS:    1 meta of the shard
-- ARGV:    1 groups to look at, 2 ms between two steps, at least, 3 groups of each kind to keep
-- Answers: groups looked at (0: it was not time, or there is no need); passes since the search began
-- States:  none changes

-- @include shard
-- @include row
-- @include group
-- @include ready
-- @include measure

local BATCH, GAP, KEPT = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

if count_groups() <= BATCH then
    redis.call('DEL', key('survey'), key('survey:deep'), key('survey:old'))
    return {0, 0}
end
local state = redis.call('HMGET', key('survey'), 'at', 'place', 'position', 'passes')
if state[1] and math.abs(NOW - tonumber(state[1])) < GAP then
    return {0, tonumber(state[4])}
end
write_though_full()

-- Where groups are. Lists and sorted sets are read from their ends: what leaves them does so at the beginning, and would
-- shift what was not looked at yet to where the search has been.
local PLACES = {{'leases', 'HSCAN'}, {'blocked', 'ZREVRANGE'}, {'limited', 'HSCAN'}, {'halted', 'SSCAN'}}
for level = 0, LEVELS do
    PLACES[#PLACES + 1] = {level == 0 and 'ready' or 'ready:' .. level, 'LRANGE'}
end

-- Some refs of a place, and the position behind them ('0': that was all).
local function read_place(name, command, position, number)
    local seen = tonumber(position)
    if command == 'LRANGE' then
        local refs = redis.call('LRANGE', key(name), -seen - number, -seen - 1)
        return refs, #refs == number and tostring(seen + number) or '0'
    elseif command == 'ZREVRANGE' then
        local refs = redis.call('ZREVRANGE', key(name), seen, seen + number - 1)
        return refs, #refs == number and tostring(seen + number) or '0'
    end
    local found = redis.call(command, key(name), position, 'COUNT', number)
    if command == 'SSCAN' then
        return found[2], found[1]
    end
    local refs = {}
    for i = 1, #found[2], 2 do
        refs[#refs + 1] = found[2][i]
    end
    return refs, found[1]
end

local deep, old = {}, {}

local function note(ref)
    local depth, since = measure(ref)
    if depth == 0 then
        redis.call('ZREM', key('survey:deep'), ref)
        redis.call('ZREM', key('survey:old'), ref)
        return
    end
    deep[#deep + 1], deep[#deep + 2] = depth, ref
    old[#old + 1], old[#old + 2] = since, ref
end

for _, ref in ipairs(redis.call('ZUNION', 2, key('survey:deep'), key('survey:old'))) do
    note(ref)
end
local place, position, looked = tonumber(state[2] or 1), state[3] or '0', 0
while looked < BATCH and PLACES[place] do
    local refs
    refs, position = read_place(PLACES[place][1], PLACES[place][2], position, BATCH - looked)
    for _, ref in ipairs(refs) do
        note(ref)
    end
    looked = looked + math.max(1, #refs)
    if position == '0' then
        place = place + 1
    end
end
if #deep > 0 then
    redis.call('ZADD', key('survey:deep'), unpack(deep))
    redis.call('ZADD', key('survey:old'), unpack(old))
    redis.call('ZREMRANGEBYRANK', key('survey:deep'), 0, -KEPT - 1)
    redis.call('ZREMRANGEBYRANK', key('survey:old'), KEPT, -1)
end
local passes = tonumber(state[4] or 0)
if not PLACES[place] then
    place, passes = 1, passes + 1
end
redis.call('HSET', key('survey'), 'at', NOW, 'place', place, 'position', position, 'passes', passes)
return {looked, passes}
