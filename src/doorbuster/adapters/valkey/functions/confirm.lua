-- confirm: notes that holds are orders now, so the sweep for orphans leaves them alone
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   pending     hold ids not yet confirmed, by the time they were taken
-- Arguments:
--   epoch       the epoch the holds were taken under
-- Rows:
--   hold_id     the hold
-- Replies:
--   confirmed   then how many were pending
--   no_image    there is no image that can be believed
--   other_epoch the image has another epoch; nothing was changed
-- Invariants:
--   no unit moves
-- Cost:
--   2 calls to read and 2 to write; at most ROWS_MAX rows

local function confirm(keys, args)
  local meta_key, stock_key, pending_key = unpack(keys)
  local epoch = whole(args[1])
  if not epoch or #args < 2 or #args > 1 + ROWS_MAX then
    return bad_call('confirm: malformed batch')
  end

  local image, problem = image_of(epoch, meta_key, stock_key)
  if not image then
    return { problem }
  end

  local confirmed = redis.call('ZREM', pending_key, unpack(args, 2))
  if confirmed > 0 then
    redis.call('HSET', meta_key, 'tick', image.tick + 1)
  end
  return { 'confirmed', confirmed }
end

register('confirm', confirm)
