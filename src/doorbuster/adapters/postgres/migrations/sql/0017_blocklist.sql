-- As in 0014, for rows that cannot be there.

-- Replaces the block list; null for a sale that is not there. The settings keep a million accounts in memory, and have
-- the plan made for the list that came.
create or replace function block_users(p_sale_id uuid, p_user_ids text[], p_by text, p_reason text)
returns table (added text[], removed text[]) language plpgsql
set work_mem = '256MB' set plan_cache_mode = force_custom_plan set jit = off
as $$
declare
    v_now timestamptz := clock_ms();
begin
    perform from flash_sales where sale_id = p_sale_id for no key update;
    if not found then
        return;
    end if;
    with gone as (
        delete from sale_blocklist b
        where b.sale_id = p_sale_id
            and not exists (select from unnest(p_user_ids) w where w collate "C" = b.user_id)
        returning b.user_id
    )
    select coalesce(array_agg(user_id), '{}') into removed from gone;
    -- In the order of the index, so that it grows at its end. Nobody else adds to it while the sale is locked; to ask
    -- for each row whether somebody did costs half as much again.
    with come as (
        insert into sale_blocklist (sale_id, user_id, blocked_at, blocked_by, reason)
        select p_sale_id, wanted.w, v_now, p_by, p_reason
        from (
            select distinct w collate "C" as w from unnest(p_user_ids) w
            except
            select b.user_id from sale_blocklist b where b.sale_id = p_sale_id
        ) wanted
        order by wanted.w
        returning user_id
    )
    select coalesce(array_agg(user_id), '{}') into added from come;
    if cardinality(added) + cardinality(removed) > 0 then
        perform note_action(
            p_sale_id, 'blocklist', p_by, p_reason,
            jsonb_build_object('added', cardinality(added), 'removed', cardinality(removed))
        );
    end if;
    return next;
end
$$;
