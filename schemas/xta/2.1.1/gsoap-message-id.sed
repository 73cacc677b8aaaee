# For the header file that gSOAP's wsdl2h makes: wsa:MessageID as the body of a request, and of an answer (a pointer).
s/^( +)wsa5__MessageID( +)wsa5__MessageID(,|$)/\1_wsa5__MessageID\2wsa5__MessageID\3/
s/^( +)wsa5__MessageID( +)wsa5__MessageID(\s*\/\/\/.*)$/\1_wsa5__MessageID *wsa5__MessageID\3/
