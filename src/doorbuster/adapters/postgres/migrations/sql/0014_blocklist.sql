-- As in 0001, for lists of a million accounts.

-- Checked once for the list, under the lock on the sale, and not once for each row of it.
alter table sale_blocklist drop constraint sale_blocklist_sale_id_fkey;

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
    -- In the order of the index, so that it grows at its end.
    with come as (
        insert into sale_blocklist (sale_id, user_id, blocked_at, blocked_by, reason)
        select p_sale_id, wanted.w, v_now, p_by, p_reason
        from (
            select distinct w collate "C" as w from unnest(p_user_ids) w
            except
            select b.user_id from sale_blocklist b where b.sale_id = p_sale_id
        ) wanted
        order by wanted.w
        on conflict do nothing
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
