{{ config(materialized='incremental', unique_key=['time_hour', 'carrier', 'flight']) }}
{#- Which loads this run of dbt follows. Empty when a person runs dbt: then all rows are read. #}
{%- set flights = var('conduit', {}).get('tables', {}).get('raw.flights') %}
select *, '{{ invocation_id }}' as dbt_run
from {{ ref('stg_flights') }}
{% if is_incremental() and flights %}
where _conduit_load_id in ('{{ flights.load_ids | join("', '") }}')
{% endif %}
