-- Make a message cancelled: it is in no group any more. Its row stays, with its attempts, until its retention ends.
local function note_cancelled(id, row)
    set_extra(row, 'cancelled', NOW)
    write_row(id, row)
    redis.call('ZADD', key('cancelled'), NOW, id)
end
