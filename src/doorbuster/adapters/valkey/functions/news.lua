-- news: tells what happened in the line after a change the reader knows
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   queue       buyers who wait, by their numbers
--   granting    buyers whose unit is taken and whose order is not settled, by their numbers
--   news        changes of the line
-- Arguments:
--   since       number of the last change the reader knows
--   epoch       the epoch it was told under; another one than the image's: the reader begins anew
-- Replies:
--   news        then epoch, number of the last change told, 1 if nothing between was missed and 0 if it was,
--               available, stock, waiting, tick, and the changes
--   no_image    there is no image that can be believed
-- Invariants:
--   nothing is written
-- Cost:
--   6 calls to read; at most NEWS_KEPT changes, whatever the length of the line

-- Changes in one answer; a reader that has more to come asks again.
local ITEMS_MAX = 4000

local function news(keys, args)
  local meta_key, stock_key, queue_key, granting_key, news_key = unpack(keys)
  local since, epoch = whole(args[1]), whole(args[2])
  if not since or not epoch then
    return bad_call('news: malformed call')
  end
  local image = read_image(meta_key, stock_key)
  local line = image and read_line(meta_key)
  if not line then
    return { 'no_image' }
  end

  local kept = redis.call('LLEN', news_key)
  local waiting = redis.call('ZCARD', queue_key) + redis.call('ZCARD', granting_key)
  local complete = epoch == image.epoch and since <= line.news and since >= line.news - kept
  local items, seq = {}, line.news
  if complete and since < line.news then
    local from = kept - (line.news - since)
    items = redis.call('LRANGE', news_key, from, from + ITEMS_MAX - 1)
    seq = since + #items
  end
  return {
    'news', image.epoch, seq, complete and 1 or 0, image.available, image.stock, waiting, image.tick, unpack(items),
  }
end

register('news', news, { 'no-writes' })
