#![no_main]

highwater_fuzz::decoder!(ident);
