-- end_line: everybody with a number up to this one waits for nothing any more (Q6)
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   queue       buyers who wait, by their numbers
--   news        changes of the line
-- Arguments:
--   epoch       the epoch of the image to change
--   number      the highest number that waits for nothing
-- Replies:
--   ended       then how many waited
--   no_image    there is no image that can be believed
--   other_epoch the image has another epoch; nothing was changed
-- Invariants:
--   a ticket of an ended number brings nothing back, and no such number is issued
-- Cost:
--   5 calls to read and 4 to write; a whole line is dropped at once and its memory given back outside the call

local function end_line(keys, args)
  local meta_key, stock_key, queue_key, news_key = unpack(keys)
  local epoch, number = whole(args[1]), whole(args[2])
  if not epoch or not number then
    return bad_call('end_line: malformed call')
  end
  local image, line, problem = line_of(epoch, meta_key, stock_key)
  if not image then
    return { problem }
  end
  local waited = redis.call('ZCARD', queue_key)
  local last = redis.call('ZRANGE', queue_key, -1, -1, 'WITHSCORES')
  if number <= line.ended and (waited == 0 or tonumber(last[2]) > number) then
    return { 'ended', 0 }
  end

  -- Point of no return. The news come first: should their key have a wrong type, nothing has changed yet.
  local told = tell(news_key, line, { 'ended' .. US .. args[2] .. US .. US })
  if waited > 0 and tonumber(last[2]) <= number then
    redis.call('UNLINK', queue_key)
  else
    waited = redis.call('ZREMRANGEBYSCORE', queue_key, '-inf', args[2])
  end
  redis.call('HSET', meta_key, 'ended', math.max(line.ended, number), 'next', math.max(line.next, number),
    'news', told, 'tick', image.tick + 1)
  return { 'ended', waited }
end

register('end_line', end_line)
