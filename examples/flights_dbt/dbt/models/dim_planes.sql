select tailnum, year, manufacturer, model, seats
from {{ source('raw', 'planes') }}
