-- How deep and how old a group is: which of them are the most so is looked for piece by piece (survey.lua).

-- Groups that have messages.
local function count_groups()
    return count_ready() + redis.call('HLEN', key('leases')) + redis.call('ZCARD', key('blocked'))
        + redis.call('HLEN', key('limited')) + redis.call('SCARD', key('halted'))
end

-- Whether a message without a group is a group no more: it ended, or waits for its time again.
local function has_left(id, row)
    return row[ROW.DIED] > 0 or row[ROW.MEMBER] ~= '' or extra_of(row, 'cancelled')
        or redis.call('HEXISTS', key('done'), id) == 1
end

-- Messages of a group that have not ended, and since when (ms) its head could go on: its acceptance, or its due time
-- when it was delayed. Depth 0: it has none. A head that is no row is as old as this moment.
local function measure(ref)
    local listed = is_listed(ref)
    local depth = listed and redis.call('LLEN', list_key(ref)) or 1
    local id = depth > 0 and head_of(ref)
    local row = id and fetch_row(id)
    if not row then
        return listed and depth or 0, NOW
    elseif not listed and has_left(id, row) then
        return 0, NOW
    end
    local since = tonumber(row[ROW.ENQUEUED]) or 0
    return depth, math.max(since > 0 and since or NOW, tonumber(extra_of(row, 'due') or 0))
end
