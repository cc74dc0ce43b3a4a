select
    airlines.name as airline,
    count(*) as flights,
    round(avg(flights.dep_delay), 1) as "delay, min",
    round(100.0 * count(*) filter (flights.is_cancelled) / count(*), 1) as "cancelled, %"
from {{ ref('fct_flights') }} as flights
join {{ source('raw', 'airlines') }} as airlines using (carrier)
group by all
