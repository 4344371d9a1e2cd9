#![no_main]

highwater_fuzz::decoder!(record);
