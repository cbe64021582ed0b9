/* An action chunk of a fewstep policy, in C. A context belongs to one thread at a time. */
#ifndef FEWSTEP_CHUNK_H
#define FEWSTEP_CHUNK_H
#ifdef __cplusplus
extern "C" {
#endif

typedef struct fewstep_chunk fewstep_chunk;

/* Read chunk.bin. Returns NULL where it cannot be read or belongs to another policy. */
fewstep_chunk* fewstep_chunk_open(const char* weights);

/* Compute one chunk; nothing is allocated.
   observation: every state of the policy's Spec in its order, (observation_steps, size) each, the oldest first, in robot
     units; then the features (pictures, features) of each camera, which another program computes from camera_*.onnx.
   noise: standard normal numbers (K, horizon, E), as `shape.noise` of chunk.cpp.json says.
   prefix: (horizon, action size), actions that are promised already, of which the first prefix_length hold; may be NULL.
   actions: (horizon, action size) in robot units, which this fills. */
void fewstep_chunk_predict(fewstep_chunk* chunk, const float* observation, const float* noise, const float* prefix,
                           int prefix_length, float* actions);

void fewstep_chunk_close(fewstep_chunk* chunk);

#ifdef __cplusplus
}
#endif
#endif
