"""Answers of real servers (vllm-mlx 0.6.0, mlx-vlm 0.7.10) and documented lines of macmon, verbatim."""

# vllm-mlx on Linux, between requests: no Metal there
VLLM_STATUS_IDLE = (
    b'{"status":"running","model":"tiny","residency":null,"embedding":null,"uptime_s":3.8,"steps_exec'
    b'uted":44,"num_running":0,"num_waiting":0,"total_requests_processed":16,"total_prompt_tokens":88'
    b'4,"total_completion_tokens":39,"generation_tps":468.56556989098704,"prompt_tps":146.27605072625'
    b'164,"metal":{"active_memory_gb":null,"peak_memory_gb":null,"cache_memory_gb":null},"cache":{"hi'
    b'ts":0,"misses":3,"hit_rate":0.0,"evictions":0,"tokens_saved":0,"current_memory_mb":0.0,"max_mem'
    b'ory_mb":4714.98,"memory_utilization":0.0,"entry_count":0,"store_rejections":0},"mtp":{"enabled"'
    b':false},"requests":[]}'
)
# five of six requests in one wave, seen after 2.5 s of prefill
VLLM_STATUS_BUSY = (
    b'{"status":"running","model":"tiny","residency":null,"embedding":null,"uptime_s":17.7,"steps_exe'
    b'cuted":293,"num_running":5,"num_waiting":0,"total_requests_processed":42,"total_prompt_tokens":'
    b'3674,"total_completion_tokens":623,"generation_tps":317.7261959196502,"prompt_tps":129.89407838'
    b'9439,"metal":{"active_memory_gb":null,"peak_memory_gb":null,"cache_memory_gb":null},"cache":{"h'
    b'its":0,"misses":3,"hit_rate":0.0,"evictions":0,"tokens_saved":0,"current_memory_mb":0.0,"max_me'
    b'mory_mb":4714.98,"memory_utilization":0.0,"entry_count":0,"store_rejections":0},"mtp":{"enabled'
    b'":false},"requests":[{"request_id":"77e6046c-1273-4e0e-9ac9-9724c2f64c03","status":"running","p'
    b'hase":"generation","elapsed_s":1.83,"prompt_tokens":90,"completion_tokens":1,"max_tokens":40,"p'
    b'rogress":0.025,"tokens_per_second":613.1,"ttft_s":1.825,"cache_hit_type":null,"cached_tokens":0'
    b'},{"request_id":"b1f36736-f5f8-4b21-b91e-242f6316f12b","status":"running","phase":"generation",'
    b'"elapsed_s":1.82,"prompt_tokens":90,"completion_tokens":1,"max_tokens":40,"progress":0.025,"tok'
    b'ens_per_second":648.1,"ttft_s":1.814,"cache_hit_type":null,"cached_tokens":0},{"request_id":"3c'
    b'53458f-f1e0-4f24-8a4b-dcc864af2afe","status":"running","phase":"generation","elapsed_s":1.81,"p'
    b'rompt_tokens":90,"completion_tokens":1,"max_tokens":40,"progress":0.025,"tokens_per_second":659'
    b'.4,"ttft_s":1.808,"cache_hit_type":null,"cached_tokens":0},{"request_id":"c4a5645f-9626-4186-a7'
    b'3a-3ed20ebccad7","status":"running","phase":"generation","elapsed_s":1.81,"prompt_tokens":90,"c'
    b'ompletion_tokens":1,"max_tokens":40,"progress":0.025,"tokens_per_second":666.0,"ttft_s":1.806,"'
    b'cache_hit_type":null,"cached_tokens":0},{"request_id":"64a51d53-4a74-48b4-81ae-a4514ee8fa7e","s'
    b'tatus":"running","phase":"generation","elapsed_s":1.81,"prompt_tokens":90,"completion_tokens":1'
    b',"max_tokens":40,"progress":0.025,"tokens_per_second":672.2,"ttft_s":1.806,"cache_hit_type":nul'
    b'l,"cached_tokens":0}]}'
)
# after 59 chat requests of all kinds; the families of HTTP durations left out
VLLM_METRICS = b"""\
# TYPE vllm_mlx_http_requests_total counter
vllm_mlx_http_requests_total{method="GET",path="/health",status_code="200"} 15.0
vllm_mlx_http_requests_total{method="GET",path="/v1/models",status_code="200"} 1.0
vllm_mlx_http_requests_total{method="GET",path="/v1/status",status_code="200"} 14.0
vllm_mlx_http_requests_total{method="GET",path="/v1/cache/stats",status_code="200"} 3.0
vllm_mlx_http_requests_total{method="POST",path="/v1/chat/completions",status_code="200"} 52.0
vllm_mlx_http_requests_total{method="POST",path="/v1/chat/completions",status_code="404"} 1.0
vllm_mlx_http_requests_total{method="POST",path="/v1/chat/completions",status_code="500"} 4.0
vllm_mlx_http_requests_total{method="POST",path="/v1/chat/completions",status_code="400"} 3.0
vllm_mlx_http_requests_total{method="POST",path="/v1/chat/completions",status_code="422"} 4.0
vllm_mlx_http_requests_total{method="GET",path="__unmatched__",status_code="404"} 4.0
vllm_mlx_http_requests_total{method="POST",path="__unmatched__",status_code="404"} 1.0
vllm_mlx_http_requests_total{method="GET",path="/v1/chat/completions",status_code="405"} 1.0
vllm_mlx_http_requests_total{method="POST",path="/v1/chat/completions",status_code="499"} 1.0
vllm_mlx_http_requests_total{method="DELETE",path="/v1/cache",status_code="200"} 1.0
vllm_mlx_http_requests_total{method="DELETE",path="/v1/cache/prefix",status_code="200"} 1.0
# TYPE vllm_mlx_http_request_duration_seconds histogram
# TYPE vllm_mlx_http_requests_in_flight gauge
vllm_mlx_http_requests_in_flight{method="GET",path="/health"} 0.0
vllm_mlx_http_requests_in_flight{method="GET",path="/v1/models"} 0.0
vllm_mlx_http_requests_in_flight{method="GET",path="/v1/status"} 0.0
vllm_mlx_http_requests_in_flight{method="GET",path="/v1/cache/stats"} 0.0
vllm_mlx_http_requests_in_flight{method="POST",path="/v1/chat/completions"} 0.0
vllm_mlx_http_requests_in_flight{method="GET",path="__unmatched__"} 0.0
vllm_mlx_http_requests_in_flight{method="POST",path="__unmatched__"} 0.0
vllm_mlx_http_requests_in_flight{method="GET",path="/v1/chat/completions"} 0.0
vllm_mlx_http_requests_in_flight{method="DELETE",path="/v1/cache"} 0.0
vllm_mlx_http_requests_in_flight{method="DELETE",path="/v1/cache/prefix"} 0.0
# TYPE vllm_mlx_inference_requests_total counter
vllm_mlx_inference_requests_total{endpoint="chat_completions",result="success",stream="false"} 16.0
vllm_mlx_inference_requests_total{endpoint="chat_completions",result="success",stream="true"} 33.0
vllm_mlx_inference_requests_total{endpoint="chat_completions",result="error",stream="false"} 3.0
vllm_mlx_inference_requests_total{endpoint="chat_completions",result="error",stream="true"} 2.0
vllm_mlx_inference_requests_total{endpoint="chat_completions",result="client_error",stream="false"} 2.0
vllm_mlx_inference_requests_total{endpoint="chat_completions",result="cancelled",stream="true"} 1.0
vllm_mlx_inference_requests_total{endpoint="chat_completions",result="client_closed",stream="false"} 1.0
# TYPE vllm_mlx_inference_request_duration_seconds histogram
vllm_mlx_inference_request_duration_seconds_count{endpoint="chat_completions",stream="false"} 22.0
vllm_mlx_inference_request_duration_seconds_sum{endpoint="chat_completions",stream="false"} 7.284370012000181
vllm_mlx_inference_request_duration_seconds_count{endpoint="chat_completions",stream="true"} 36.0
vllm_mlx_inference_request_duration_seconds_sum{endpoint="chat_completions",stream="true"} 144.95289057599916
# TYPE vllm_mlx_inference_ttft_seconds histogram
vllm_mlx_inference_ttft_seconds_count{endpoint="chat_completions",stream="true"} 34.0
vllm_mlx_inference_ttft_seconds_sum{endpoint="chat_completions",stream="true"} 108.81910922099974
# TYPE vllm_mlx_prompt_tokens_total counter
vllm_mlx_prompt_tokens_total{endpoint="chat_completions",stream="false"} 1252.0
vllm_mlx_prompt_tokens_total{endpoint="chat_completions",stream="true"} 2987.0
# TYPE vllm_mlx_completion_tokens_total counter
vllm_mlx_completion_tokens_total{endpoint="chat_completions",stream="false"} 156.0
vllm_mlx_completion_tokens_total{endpoint="chat_completions",stream="true"} 736.0
# TYPE vllm_mlx_embedding_truncated_total counter
# TYPE vllm_mlx_model_loaded gauge
vllm_mlx_model_loaded 1.0
# TYPE vllm_mlx_engine_type gauge
vllm_mlx_engine_type{engine_type="simple"} 0.0
vllm_mlx_engine_type{engine_type="batched"} 1.0
vllm_mlx_engine_type{engine_type="unknown"} 0.0
# TYPE vllm_mlx_engine_is_mllm gauge
vllm_mlx_engine_is_mllm 1.0
# TYPE vllm_mlx_scheduler_waiting_requests gauge
vllm_mlx_scheduler_waiting_requests 0.0
# TYPE vllm_mlx_scheduler_running_requests gauge
vllm_mlx_scheduler_running_requests 0.0
# TYPE vllm_mlx_engine_steps_executed gauge
vllm_mlx_engine_steps_executed 630.0
# TYPE vllm_mlx_engine_uptime_seconds gauge
vllm_mlx_engine_uptime_seconds 30.937718629837036
# TYPE vllm_mlx_metal_memory_bytes gauge
vllm_mlx_metal_memory_bytes{kind="active"} 0.0
vllm_mlx_metal_memory_bytes{kind="peak"} 0.0
vllm_mlx_metal_memory_bytes{kind="cache"} 0.0
"""
# before the first chat request
VLLM_METRICS_COLD = b"""\
# TYPE vllm_mlx_http_requests_total counter
vllm_mlx_http_requests_total{method="GET",path="/health",status_code="200"} 2.0
vllm_mlx_http_requests_total{method="GET",path="/v1/models",status_code="200"} 1.0
vllm_mlx_http_requests_total{method="GET",path="/v1/status",status_code="200"} 1.0
vllm_mlx_http_requests_total{method="GET",path="/v1/cache/stats",status_code="200"} 1.0
# TYPE vllm_mlx_http_request_duration_seconds histogram
# TYPE vllm_mlx_http_requests_in_flight gauge
vllm_mlx_http_requests_in_flight{method="GET",path="/health"} 0.0
vllm_mlx_http_requests_in_flight{method="GET",path="/v1/models"} 0.0
vllm_mlx_http_requests_in_flight{method="GET",path="/v1/status"} 0.0
vllm_mlx_http_requests_in_flight{method="GET",path="/v1/cache/stats"} 0.0
# TYPE vllm_mlx_inference_requests_total counter
# TYPE vllm_mlx_inference_request_duration_seconds histogram
# TYPE vllm_mlx_inference_ttft_seconds histogram
# TYPE vllm_mlx_prompt_tokens_total counter
# TYPE vllm_mlx_completion_tokens_total counter
# TYPE vllm_mlx_embedding_truncated_total counter
# TYPE vllm_mlx_model_loaded gauge
vllm_mlx_model_loaded 1.0
# TYPE vllm_mlx_engine_type gauge
vllm_mlx_engine_type{engine_type="simple"} 0.0
vllm_mlx_engine_type{engine_type="batched"} 1.0
vllm_mlx_engine_type{engine_type="unknown"} 0.0
# TYPE vllm_mlx_engine_is_mllm gauge
vllm_mlx_engine_is_mllm 1.0
# TYPE vllm_mlx_scheduler_waiting_requests gauge
vllm_mlx_scheduler_waiting_requests 0.0
# TYPE vllm_mlx_scheduler_running_requests gauge
vllm_mlx_scheduler_running_requests 0.0
# TYPE vllm_mlx_engine_steps_executed gauge
vllm_mlx_engine_steps_executed 0.0
# TYPE vllm_mlx_engine_uptime_seconds gauge
vllm_mlx_engine_uptime_seconds 0.5480082035064697
# TYPE vllm_mlx_metal_memory_bytes gauge
vllm_mlx_metal_memory_bytes{kind="active"} 0.0
vllm_mlx_metal_memory_bytes{kind="peak"} 0.0
vllm_mlx_metal_memory_bytes{kind="cache"} 0.0
"""
# mlx_vlm.server before its first request
MLX_VLM_METRICS_COLD = (
    b'{"latest":null,"recent":[],"summary":{"uptime_s":0.1683340072631836,"requests_started":0,"reque'
    b'sts_completed":0,"requests_failed":0,"streaming_requests":0,"in_flight":0,"prompt_tokens_total"'
    b':0,"completion_tokens_total":0,"generated_tokens_total":0,"avg_request_time_s":0.0,"avg_request'
    b'_tok_s":0.0,"avg_decode_tok_s":0.0,"last_request_at":null,"last_error":null},"server":{"loaded_'
    b'model":"/models/t0","loaded_adapter":null,"loaded_models":{"text_generation":{"model":"/models/'
    b't0","adapter":null,"model_kind":"text_generation"}},"model_kind":"text_generation","loaded_cont'
    b'ext_size":262144,"configured_context_limit":null,"effective_context_limit":262144,"loaded_tool_'
    b'parser":null,"continuous_batching_enabled":true,"request_queue_depth":0,"audio_queue_depth":0,"'
    b'preload_failures":{},"apc":{"enabled":false}}}'
)
# the part "latest" of the same, after a request
MLX_VLM_LATEST = (
    b'{"timestamp_unix":1795361676.5732064,"endpoint":"/chat/completions","model":"/models/t0","strea'
    b'm":false,"backend":"continuous_batching","prompt_tokens":90,"completion_tokens":4,"generated_to'
    b'kens":4,"reasoning_tokens":0,"total_tokens":94,"prompt_eval_time_s":0.21725137099974745,"prefil'
    b'l_tok_s":414.26666071582406,"ttft_s":0.29166352300012477,"decode_elapsed_s":0.01446643200006292'
    b'3,"request_elapsed_s":0.3817350730000726,"request_tok_s":10.478471282619712,"decode_tok_s":276.'
    b'50218104800143,"sliding_decode_tok_s_first_32":207.3766357860011,"sliding_decode_tok_s_first_64'
    b'":207.3766357860011,"sliding_decode_tok_s_last_32":207.3766357860011,"sliding_decode_tok_s_last'
    b'_64":207.3766357860011,"peak_memory_gb":0.03644498,"finish_reason":"length","image_count":1,"au'
    b'dio_count":0,"structured_output":false,"thinking_enabled":false,"tool_parser":null,"tool_calls"'
    b':false,"apc_enabled":false}'
)
# macmon pipe 0.6 and 0.7, from its documentation
MACMON_0_7 = (
    b'{"timestamp":"2025-02-24T20:38:15.427569+00:00","temp":{"cpu_temp_avg":43.73614,"gpu_temp_avg":'
    b'36.95167},"memory":{"ram_total":25769803776,"ram_usage":20985479168,"swap_total":4294967296,"sw'
    b'ap_usage":2602434560},"ecpu_usage":[1181,0.082656614],"pcpu_usage":[1974,0.015181795],"gpu_usag'
    b'e":[461,0.021497859],"cpu_power":0.20486385,"gpu_power":0.017451683,"ane_power":0.0,"all_power"'
    b':0.22231553,"sys_power":5.876533,"ram_power":0.11635789,"gpu_ram_power":0.0009615385}'
)
# macmon pipe 0.8, from its documentation, cut
MACMON_0_8 = (
    b'{"cpu_active_ratio":0.092,"gpu_freq_mhz":461,"gpu_scaled_ratio":0.021497859,"gpu_active_ratio":'
    b'0.09,"cpu_power":0.20486385,"gpu_power":0.017451683,"ane_power":0.0,"all_power":0.22231553,"sys'
    b'_power":5.876533}'
)
