#![no_main]

highwater_fuzz::decoder!(epoch_end);
