-- set_terms: publishes new terms: pause, resume, end, moved window, other limit
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
-- Arguments:
--   epoch       the epoch of the image to change
--   state       selling, paused or over
--   opens       milliseconds, the database's clock; units are taken from then
--   ends        milliseconds, the database's clock; no unit is taken from then
--   limit       units one buyer may hold and own
--   standby     buyers who may wait beyond the free units; -1 for as many as like
-- Replies:
--   changed     the terms are these from now on
--   same        they were these already
--   no_image    there is no image that can be believed
--   other_epoch the image has another epoch; nothing was changed
-- Invariants:
--   no unit moves
-- Cost:
--   3 calls to read and 1 to write

local function set_terms(keys, args)
  local meta_key, stock_key = unpack(keys)
  local epoch, state, opens, ends, limit = whole(args[1]), args[2], whole(args[3]), whole(args[4]), whole(args[5])
  local standby = whole(args[6])
  if not epoch or not STATES[state] or not opens or not ends or not limit or not standby then
    return bad_call('set_terms: malformed call')
  end

  local image, line, problem = line_of(epoch, meta_key, stock_key)
  if not image then
    return { problem }
  end
  if image.state == state and image.opens == opens and image.ends == ends and image.limit == limit
      and line.standby == standby then
    return { 'same' }
  end

  redis.call('HSET', meta_key, 'state', state, 'opens', args[3], 'ends', args[4], 'limit', args[5],
    'standby', args[6], 'tick', image.tick + 1)
  return { 'changed' }
end

register('set_terms', set_terms)
