#![no_main]

highwater_fuzz::decoder!(segment_header);
