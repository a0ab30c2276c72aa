-- Purpose: read the dead letters that match a filter, the newest first, a page a call. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    1 filter (JSON), 2 most to answer, 3 most to look at, 4 and 5 the last one that was looked at
--          (ms when it died, id; '' and '': from the beginning)
-- Answers: the last one that was looked at (ms, id; '' and '' when that was the last there is); then for each that
--          matches: id, ms when it died, actor, ref, sequence, enqueued (ms), reason, failures, crashes, times it was redriven,
--          class, fingerprint and message of what it died of
-- States:  none changes

-- @include shard
-- @include row
-- @include death
-- @include matching

-- Whether one id stands before another in a sorted set, byte by byte as Redis compares.
local function stands_before(one, other)
    for i = 1, math.min(#one, #other) do
        local a, b = string.byte(one, i), string.byte(other, i)
        if a ~= b then
            return a < b
        end
    end
    return #one < #other
end

-- The rank from the newest of the first one behind (ms, id), which may be gone by now.
local function rank_behind(ms, id)
    local low = redis.call('ZCOUNT', key('dead'), '(' .. ms, '+inf')
    local high = low + redis.call('ZCOUNT', key('dead'), ms, ms)
    while low < high do
        local middle = math.floor((low + high) / 2)
        if stands_before(redis.call('ZREVRANGE', key('dead'), middle, middle)[1], id) then
            high = middle
        else
            low = middle + 1
        end
    end
    return low
end

local filter, most, look = cjson.decode(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local rank = ARGV[4] == '' and 0 or rank_behind(ARGV[4], ARGV[5])
if filter['until'] then
    rank = math.max(rank, redis.call('ZCOUNT', key('dead'), '(' .. filter['until'], '+inf'))
end

local function describe(id, row)
    local class, fingerprint, message = death_of(row)
    local group = extra_of(row, 'group')
    return {id, row[ROW.DIED], row[ROW.ACTOR], group and 'g:' .. group or row[ROW.REF], row[ROW.SEQUENCE], row[ROW.ENQUEUED],
        row[ROW.REASON], row[ROW.FAILURES], row[ROW.CRASHES], extra_of(row, 'redriven') or 0, class, fingerprint, message}
end

local found, bytes = {}, 0
local page = redis.call('ZREVRANGE', key('dead'), rank, rank + look - 1, 'WITHSCORES')
for i = 1, #page, 2 do
    local id, died = page[i], tonumber(page[i + 1])
    if filter.since and died < filter.since then
        return {'', '', found}
    end
    local packed = redis.call('HGET', key('messages'), id)
    local row = packed and read_row(packed)
    if row and matches(row, filter) then
        found[#found + 1] = describe(id, row)
    end
    bytes = bytes + #(packed or '')
    if #found >= most or bytes > MOST_BYTES then
        return {page[i + 1], id, found}
    end
end
if #page < 2 * look then
    return {'', '', found}
end
return {page[#page], page[#page - 1], found}
