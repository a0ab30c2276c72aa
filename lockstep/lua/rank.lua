-- Purpose: the deepest and the oldest groups of a shard: of all, when there are no more than a batch; else of those that the
--          search has found (survey.lua), as they are now. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    1 groups to look at, at most, 2 groups of each kind to answer
-- Answers: 1 when all were looked at, else 0; the deepest: ref, depth, age (ms) of its head, and so on; the oldest likewise
-- States:  none changes

-- @include shard
-- @include row
-- @include group
-- @include ready
-- @include measure

local MOST, WANTED = tonumber(ARGV[1]), tonumber(ARGV[2])
local is_whole = count_groups() <= MOST

local refs
if is_whole then
    refs = redis.call('HKEYS', key('leases'))
    local function add(some)
        for _, ref in ipairs(some) do
            refs[#refs + 1] = ref
        end
    end
    for level = 0, LEVELS do
        add(redis.call('LRANGE', ready_key(level), 0, -1))
    end
    add(redis.call('ZRANGE', key('blocked'), 0, -1))
    add(redis.call('HKEYS', key('limited')))
    add(redis.call('SMEMBERS', key('halted')))
else
    refs = redis.call('ZUNION', 2, key('survey:deep'), key('survey:old'))
end

local groups = {}
for _, ref in ipairs(refs) do
    local depth, since = measure(ref)
    if depth > 0 then
        groups[#groups + 1] = {ref, depth, math.max(0, NOW - since)}
    end
end

-- The first by an element of each, as one flat list.
local function first_by(place)
    table.sort(groups, function(one, other)
        return one[place] > other[place] or one[place] == other[place] and one[1] < other[1]
    end)
    local flat = {}
    for i = 1, math.min(WANTED, #groups) do
        for _, value in ipairs(groups[i]) do
            flat[#flat + 1] = value
        end
    end
    return flat
end

return {is_whole and 1 or 0, first_by(2), first_by(3)}
