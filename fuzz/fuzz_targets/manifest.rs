#![no_main]

highwater_fuzz::decoder!(manifest);
