-- The end of what is known about messages: their rows go, and whatever else was kept under their ids.

-- Take messages out of the search index; reads nothing where no message with words ever came.
local function unindex(ids)
    if has_index == nil then
        read_flags()
    end
    if not has_index then
        return
    end
    local ids_by_word = {}
    for i, packed in ipairs(redis.call('HMGET', key('messages'), unpack(ids))) do
        local row = packed and unpack_row(packed)
        for _, word in ipairs(row and extra_of(row, 'words') or {}) do
            ids_by_word[word] = ids_by_word[word] or {}
            table.insert(ids_by_word[word], ids[i])
        end
    end
    for word, found in pairs(ids_by_word) do
        redis.call('SREM', key('word:' .. word), unpack(found))
    end
end

-- `ids` are finished messages, at most 7,000 of them.
local function forget(ids)
    unindex(ids)
    redis.call('HDEL', key('messages'), unpack(ids))
end
