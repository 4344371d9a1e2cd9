#![no_main]

highwater_fuzz::decoder!(checkpoint_file);
