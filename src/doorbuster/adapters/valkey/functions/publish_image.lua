-- publish_image: makes the image that was built readable, in one step (R9d)
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   build       epoch of the image being built
--   queue       buyers who wait, by their numbers
-- Arguments:
--   epoch       the epoch the caller has built
--   state       selling, paused or over
--   opens       milliseconds, the database's clock; units are taken from then
--   ends        milliseconds, the database's clock; no unit is taken from then
--   limit       units one buyer may hold and own
--   standby     buyers who may wait beyond the free units; -1 for as many as like
--   available   units on sale
--   stock       units that are free
--   held        units in holds, committed or not
--   tick        number the count of changes goes on from
--   next        the highest number issued; -1 for a race, which has no line
--   high        numbers up to here may be issued
--   moves       milliseconds, the database's clock; nothing is granted before
--   ended       numbers up to here wait for nothing
-- Replies:
--   published   the image can be read; also when an earlier call did it
--   overtaken   somebody else builds or has published a newer image, or nobody builds; nothing was changed
-- Invariants:
--   meta is written last, so that a half-written image is never readable
--   nobody waits with a number that was not issued or that was ended, and nobody in a race
-- Cost:
--   2 calls to read and 5 to write

local function publish_image(keys, args)
  local meta_key, stock_key, build_key, queue_key = unpack(keys)
  local epoch, state, opens, ends, limit, standby, available, stock, held, tick, next, high, moves, ended = unpack(args)
  if not (whole(epoch) and STATES[state] and whole(opens) and whole(ends) and whole(limit) and whole(available)
      and string.find(stock or '', '^%d+$') and whole(held) and whole(tick) and whole(standby)
      and whole(next) and whole(high) and whole(moves) and whole(ended)) then
    return bad_call('publish_image: malformed call')
  end

  if tonumber(redis.pcall('GET', build_key)) ~= tonumber(epoch) then -- I12
    if tonumber(redis.pcall('HGET', meta_key, 'epoch')) == tonumber(epoch) then
      return { 'published' }
    end
    return { 'overtaken' }
  end

  local head = {
    'epoch', epoch, 'state', state, 'opens', opens, 'ends', ends, 'limit', limit,
    'available', available, 'held', held, 'tick', tick, 'standby', standby,
  }
  if tonumber(next) >= 0 then
    redis.call('ZREMRANGEBYSCORE', queue_key, '(' .. next, '+inf')
    redis.call('ZREMRANGEBYSCORE', queue_key, '-inf', ended)
    for _, part in ipairs({ 'next', next, 'high', high, 'moves', moves, 'ended', ended, 'news', 0, 'mark', 0 }) do
      head[#head + 1] = part
    end
  else
    redis.call('UNLINK', queue_key)
  end
  redis.call('SET', stock_key, stock)
  redis.call('DEL', build_key)
  redis.call('HSET', meta_key, unpack(head))
  return { 'published' }
end

register('publish_image', publish_image)
