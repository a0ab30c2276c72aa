-- Make a message cancelled: it is in no group any more. Its row stays, with its attempts, until its retention ends.
local function note_cancelled(id, row)
    set_extra(row, 'cancelled', NOW)
    release_finished(id, row)
    write_row(id, row)
    redis.call('ZADD', key('cancelled'), NOW, id)
    redis.call('HINCRBY', key('stats'), 'cancelled|' .. row[ROW.ACTOR], 1)
end
