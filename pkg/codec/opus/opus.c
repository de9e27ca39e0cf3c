#include "opus.h"

int easel_opus_setup(OpusEncoder *encoder, opus_int32 bitrate, opus_int32 complexity, opus_int32 loss) {
	int failed = opus_encoder_ctl(encoder, OPUS_SET_BITRATE(bitrate));
	if (failed == OPUS_OK)
		failed = opus_encoder_ctl(encoder, OPUS_SET_COMPLEXITY(complexity));
	if (failed == OPUS_OK)
		failed = opus_encoder_ctl(encoder, OPUS_SET_INBAND_FEC(1));
	if (failed == OPUS_OK)
		failed = opus_encoder_ctl(encoder, OPUS_SET_PACKET_LOSS_PERC(loss));
	if (failed == OPUS_OK)
		failed = opus_encoder_ctl(encoder, OPUS_SET_DTX(1));
	return failed;
}
