-- What a message died of, read from its row.

-- The error that a message died of; nil when it died of none. One of an earlier life does not count.
local function error_of_death(row)
    local last = row[ROW.HISTORY][#row[ROW.HISTORY]]
    if last and last[3] == row[ROW.DIED] and last[4] == 'dead' then
        local intact, error = pcall(cjson.decode, last[5])
        return intact and type(error) == 'table' and error or nil
    end
    return nil
end

-- Class, fingerprint and message of what a dead letter died of.
local function death_of(row)
    local error = error_of_death(row)
    if not error then
        return row[ROW.REASON], '', ''
    end
    return tostring(error.type), tostring(error.fingerprint or ''), tostring(error.message)
end
