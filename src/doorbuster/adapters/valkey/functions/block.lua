-- block: adds buyers to those who may not take part
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   blocked     buyers who may not take part
-- Arguments:
--   epoch       the epoch of the image to change
-- Rows:
--   user_id     the buyer
-- Replies:
--   blocked     then how many were not so before
--   no_image    there is no image that can be believed
--   other_epoch the image has another epoch; nothing was changed
-- Invariants:
--   no unit moves; holds of these buyers stay as they are
-- Cost:
--   2 calls to read and 2 to write; at most ROWS_MAX rows

local function block(keys, args)
  local meta_key, stock_key, blocked_key = unpack(keys)
  local epoch = whole(args[1])
  if not epoch or #args < 2 or #args > 1 + ROWS_MAX then
    return bad_call('block: malformed batch')
  end

  local image, problem = image_of(epoch, meta_key, stock_key)
  if not image then
    return { problem }
  end

  local changed = redis.call('SADD', blocked_key, unpack(args, 2))
  if changed > 0 then
    redis.call('HSET', meta_key, 'tick', image.tick + 1)
  end
  return { 'blocked', changed }
end

register('block', block)
