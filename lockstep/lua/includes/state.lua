-- In which one state a message is, read from where it stands.
local function state_of(id, row)
    if redis.call('HEXISTS', key('done'), id) == 1 then
        return 'done'
    elseif row[ROW.DIED] > 0 then
        return 'dead'
    elseif extra_of(row, 'cancelled') then
        return 'cancelled'
    elseif row[ROW.MEMBER] ~= '' then
        return 'scheduled'
    elseif head_of(row[ROW.REF]) == id then
        if redis.call('HEXISTS', key('leases'), row[ROW.REF]) == 1 then
            return 'running'
        elseif redis.call('ZSCORE', key('blocked'), row[ROW.REF]) then
            return 'backoff'
        end
    end
    return 'waiting'
end
