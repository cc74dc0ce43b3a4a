{{ config(materialized='view') }}
select
    time_hour, carrier, flight, origin, dest, tailnum, distance,
    dep_delay, dep_delay is null as is_cancelled, _conduit_load_id
from {{ source('raw', 'flights') }}
