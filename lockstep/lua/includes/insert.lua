-- Put a message back into its group at the place of its sequence, before everything that has not started.

-- Whether the head of a group has begun: nothing may go before it until it has ended. What only waits for its time has not.
local function has_begun(ref, row)
    if is_leased(ref) or row[ROW.DIED] > 0 or row[ROW.FAILURES] > 0 or row[ROW.CRASHES] > 0 or extra_of(row, 'begun') then
        return true
    end
    local until_ms = redis.call('ZSCORE', key('blocked'), ref)
    return until_ms and tonumber(until_ms) ~= extra_of(row, 'due')
end

local function sequence_at(ref, place)
    local row = fetch_row(redis.call('LINDEX', list_key(ref), place))
    return row and row[ROW.SEQUENCE] or math.huge
end

-- The message before which the last one of a group went, and its sequence: the next one often goes there, too.
local pivots = {}

-- The id of the first message with a higher sequence, nil when there is none; and whether that is the head.
local function find_pivot(ref, sequence)
    local pivot = pivots[ref]
    if pivot and sequence >= pivot.after and sequence < pivot.sequence then
        return pivot.id, false
    end
    local head = fetch_row(head_of(ref))
    local first = head and has_begun(ref, head) and 1 or 0
    local low, high = first, redis.call('LLEN', list_key(ref))
    while low < high do
        local middle = math.floor((low + high) / 2)
        if sequence_at(ref, middle) > sequence then
            high = middle
        else
            low = middle + 1
        end
    end
    local id = redis.call('LINDEX', list_key(ref), low)
    pivots[ref] = {id = id, after = sequence, sequence = id and sequence_at(ref, low) or math.huge}
    return id, low == 0
end

-- Answers 'alone', 'first' or 'behind': where it is now.
local function insert_in_order(ref, id, sequence)
    if redis.call('EXISTS', list_key(ref)) == 0 then
        redis.call('RPUSH', list_key(ref), id)
        return 'alone'
    end
    local pivot, is_head = find_pivot(ref, sequence)
    if pivot then
        redis.call('LINSERT', list_key(ref), 'BEFORE', pivot, id)
    else
        redis.call('RPUSH', list_key(ref), id)
    end
    return is_head and 'first' or 'behind'
end
