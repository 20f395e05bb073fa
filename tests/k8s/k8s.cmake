# Kubernetes: manifests against the API's schemas, weir as process 1 of a pid namespace, the Dockerfile.
if(PYTHON3)
  add_test(NAME integration.k8s_manifests COMMAND ${PYTHON3} -B ${CMAKE_CURRENT_LIST_DIR}/check_manifests.py
           ${PROJECT_SOURCE_DIR} $<TARGET_FILE:weir>)
  set_tests_properties(integration.k8s_manifests PROPERTIES LABELS integration TIMEOUT 120 SKIP_RETURN_CODE 77)
  add_test(NAME integration.k8s_pods COMMAND ${PYTHON3} -B ${CMAKE_CURRENT_LIST_DIR}/play_pods.py ${PROJECT_SOURCE_DIR}
           ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
  set_tests_properties(integration.k8s_pods PROPERTIES LABELS integration TIMEOUT 400 SKIP_RETURN_CODE 77)
  add_test(NAME integration.k8s_dockerfile COMMAND ${PYTHON3} -B ${CMAKE_CURRENT_LIST_DIR}/check_dockerfile.py
           ${PROJECT_SOURCE_DIR} ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
  set_tests_properties(integration.k8s_dockerfile PROPERTIES LABELS integration TIMEOUT 30)
endif()
add_test(NAME integration.k8s_process_one COMMAND ${CMAKE_CURRENT_LIST_DIR}/process_one ${CMAKE_RUNTIME_OUTPUT_DIRECTORY})
set_tests_properties(integration.k8s_process_one PROPERTIES LABELS integration TIMEOUT 300 SKIP_RETURN_CODE 77)
