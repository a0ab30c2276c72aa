-- The groups whose head may be claimed: a list for each priority from 0, the first, to 9. Most shards only ever have
-- the first list; meta says when a message with another priority came.

local LEVELS = 9

-- Of so many heads claimed, one is of the level whose turn it is, however many of the first wait: so none starves.
local TURN = 8

local is_leveled, has_index

-- What meta says of the whole shard: whether a message with another priority came, and whether one with words did.
local function read_flags()
    local flags = redis.call('HMGET', KEYS[1], 'leveled', 'indexed')
    is_leveled, has_index = flags[1] ~= false, flags[2] ~= false
end

local function leveled()
    if is_leveled == nil then
        read_flags()
    end
    return is_leveled
end

local function ready_key(level)
    return level == 0 and key('ready') or key('ready:' .. level)
end

-- How many groups are ready; then the numbers of each level that has some, as {level, number}.
local function count_ready()
    if not leveled() then
        return redis.call('LLEN', key('ready')), {}
    end
    local total, levels = 0, {}
    for level = 0, LEVELS do
        local number = redis.call('LLEN', ready_key(level))
        if number > 0 then
            total = total + number
            levels[#levels + 1] = {level, number}
        end
    end
    return total, levels
end

-- The priority of a group: that of its head.
local function level_of(ref)
    local id = head_of(ref)
    local packed = id and redis.call('HGET', key('messages'), id)
    local row = packed and unpack_row(packed)
    return row and extra_of(row, 'priority') or 0
end

-- Answers whether no group was ready before.
local function push_ready(push, refs)
    if not leveled() then
        return redis.call(push, key('ready'), unpack(refs)) == #refs
    end
    local before = count_ready()
    for _, ref in ipairs(refs) do
        redis.call(push, ready_key(level_of(ref)), ref)
    end
    return before == 0
end

-- Take out up to `wanted` groups, in their order: the first priorities first, and the others in turn.
local function pop_ready(wanted)
    if not leveled() then
        return redis.call('LPOP', key('ready'), wanted) or {}
    end
    local total, levels = count_ready()
    wanted = math.min(wanted, total)
    local refs, turn = {}, redis.call('HINCRBY', KEYS[1], 'turn', wanted)
    for number = turn - wanted + 1, turn do
        local place = number % TURN == 0 and math.floor(number / TURN) % #levels + 1 or 1
        refs[#refs + 1] = redis.call('LPOP', ready_key(levels[place][1]))
        levels[place][2] = levels[place][2] - 1
        if levels[place][2] == 0 then
            table.remove(levels, place)
        end
    end
    return refs
end

-- Take one group out, wherever in the lists it is; answers whether it was in one.
local function remove_ready(ref)
    for level = 0, leveled() and LEVELS or 0 do
        if redis.call('LREM', ready_key(level), 1, ref) == 1 then
            return true
        end
    end
    return false
end

-- Make groups ready, behind those that wait already ('RPUSH') or before them ('LPUSH').
-- Only if none was ready it needs a wake-up: otherwise a token or a claim is on its way.
local function make_ready(push, refs)
    if #refs > 0 and push_ready(push, refs) then
        wake()
    end
end
