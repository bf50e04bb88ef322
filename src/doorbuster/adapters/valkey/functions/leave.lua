-- leave: takes an entry out of the line and remembers that its number was given up
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   queue       buyers who wait, by their numbers
--   granting    buyers whose unit is taken and whose order is not settled, by their numbers
--   spent       buyer to the highest number that waits no longer
--   news        changes of the line
-- Arguments:
--   epoch       the epoch of the image to change
--   user_id     the buyer
--   number      the number that is given up
-- Replies:
--   left        the entry is gone; also when it was gone before
--   granting    a unit is taken for it already; nothing was changed
--   granted     its order is committed; nothing was changed
--   absent      the buyer waits with another number, or never had this one
--   no_image    there is no image that can be believed
--   other_epoch the image has another epoch; nothing was changed
-- Invariants:
--   nobody else's place changes but by moving up
-- Cost:
--   6 calls to read and 5 to write

local function leave(keys, args)
  local meta_key, stock_key, queue_key, granting_key, spent_key, news_key = unpack(keys)
  local epoch, user_id, number = whole(args[1]), args[2], whole(args[3])
  if not epoch or not user_id or not number then
    return bad_call('leave: malformed call')
  end

  local image, line, problem = line_of(epoch, meta_key, stock_key)
  if not image then
    return { problem }
  end
  if redis.call('ZSCORE', granting_key, user_id) then
    return { 'granting' }
  end
  local spent_number, spent_hold = unpack_spent(redis.call('HGET', spent_key, user_id))
  local waiting = tonumber(redis.call('ZSCORE', queue_key, user_id))
  if waiting ~= number then
    if spent_number == 0 or spent_number ~= number then
      return { 'absent' }
    end
    if spent_hold ~= '' then
      return { 'granted' }
    end
    return { 'left' }
  end

  -- Point of no return.
  local news = tell(news_key, line, { 'gone' .. US .. args[3] .. US .. user_id .. US })
  redis.call('ZREM', queue_key, user_id)
  redis.call('HSET', spent_key, user_id, pack_spent(args[3], ''))
  redis.call('HSET', meta_key, 'news', news, 'tick', image.tick + 1)
  return { 'left' }
end

register('leave', leave)
