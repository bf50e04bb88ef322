-- Who had an image written anew is stored as who did everything else. Read next: engine/actions.py.

-- As before, with `p_by`. Gates and workers of the release before name nobody: then it is the keeper.
drop function raise_epoch(uuid, bigint, text);
create function raise_epoch(p_sale_id uuid, p_seen bigint, p_reason text, p_by text default 'keeper') returns bigint
language plpgsql as $$
declare
    v_sale flash_sales;
    v_now timestamptz;
    v_log record;
begin
    select * into v_sale from flash_sales where sale_id = p_sale_id for no key update;
    if not found or v_sale.epoch <> p_seen then
        return null;
    end if;
    v_now := clock_ms();
    select * into v_log
    from append_log(v_sale, 'epoch', array[null::uuid], array[0], p_seen + 1, v_now);
    delete from sale_releases where sale_id = p_sale_id;
    update flash_sales
    set epoch = p_seen + 1, tick_seen = 0, image_run_id = '', rebuild_reason = p_reason,
        log_head = v_log.head, log_size = v_log.size, updated_at = v_now
    where sale_id = p_sale_id and epoch = p_seen;  -- I12
    perform note_action(p_sale_id, 'rebuild', p_by, p_reason, jsonb_build_object('epoch', p_seen + 1));
    return p_seen + 1;
end
$$;
