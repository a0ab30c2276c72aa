-- The search index: a set of ids for each word that messages were sent with. A message knows its own words (extra.words),
-- so whoever forgets it takes it out of their sets, and a word that nothing has any more has no key.

local is_indexed = false

local function index_words(id, extra)
    if not (extra and extra.words) then
        return
    end
    if not is_indexed then
        redis.call('HSET', KEYS[1], 'indexed', 1)
        is_indexed = true
    end
    local prefix = key('word:')
    for _, word in ipairs(extra.words) do
        redis.call('SADD', prefix .. word, id)
    end
end
