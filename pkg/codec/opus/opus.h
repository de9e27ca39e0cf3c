// The calls of libopus that take a variable number of arguments, for Go.
#ifndef EASEL_OPUS_H
#define EASEL_OPUS_H

#include <opus/opus.h>

// easel_opus_setup sets an encoder up for music and speech over a network that loses packets. It returns OPUS_OK or an error of libopus.
int easel_opus_setup(OpusEncoder *encoder, opus_int32 bitrate, opus_int32 complexity, opus_int32 loss);

#endif
