-- The dead letters that a call is about, in their original order: the named ones, or those that match a filter, so many
-- looked at in one call. Whatever died after `died_by` is another death than the operator saw: it is left alone.

-- Dead letters that one call looks at, and that it changes at most.
local LOOKED_AT, MOST_CHANGED = 1000, 500

-- Answers ids and rows.
local function select_named(first, died_by)
    local found = {}
    for i = first, math.min(#ARGV, first + MOST_CHANGED - 1) do
        local row = fetch_row(ARGV[i])
        if row and row[ROW.DIED] > 0 and row[ROW.DIED] <= died_by and not found[ARGV[i]] then
            found[#found + 1] = {ARGV[i], row}
            found[ARGV[i]] = true
        end
    end
    table.sort(found, function(a, b) return a[2][ROW.SEQUENCE] < b[2][ROW.SEQUENCE] end)
    local ids, rows = {}, {}
    for i, one in ipairs(found) do
        ids[i], rows[i] = one[1], one[2]
    end
    return ids, rows
end

-- Answers ids, rows, and the place (see dead_order) up to which it looked; '' when that is the end.
local function select_matching(filter, after, died_by, most)
    local ids, rows, bytes = {}, {}, 0
    local order = redis.call('ZRANGEBYSCORE', key('dead_order'), after == '' and '-inf' or '(' .. after, '+inf', 'WITHSCORES',
        'LIMIT', 0, LOOKED_AT)
    for i = 1, #order, 2 do
        local packed = redis.call('HGET', key('messages'), order[i])
        local row = packed and read_row(packed)
        if row and row[ROW.DIED] <= died_by and matches(row, filter) then
            ids[#ids + 1] = order[i]
            rows[#rows + 1] = row
        end
        bytes = bytes + #(packed or '')
        if #ids >= most or bytes > MOST_BYTES then
            return ids, rows, order[i + 1]
        end
    end
    return ids, rows, #order == 2 * LOOKED_AT and order[#order] or ''
end
